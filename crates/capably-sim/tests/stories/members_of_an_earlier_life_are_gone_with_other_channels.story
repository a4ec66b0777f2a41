seed 1221
server engine entries 1000 queue 600000 padding 0 delay 40
ada json token 0 echo plain
bob json token 0 echo plain
cyd json token 0 echo plain
     0 ada connects
     0 cyd connects
     0 cyd attaches blue
     0 bob authorizes
   100 ada enters red as x
   187 server crashes for 3994 with 1 stored
