seed 29
server engine entries 1000 queue 600000 padding 0 delay 40
ada json token 0 echo plain
     0 ada connects
     0 ada attaches blue
   100 ada enters blue as y
   150 server crashes for 381 with 3 stored
