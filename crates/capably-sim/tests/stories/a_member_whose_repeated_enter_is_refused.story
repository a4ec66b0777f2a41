seed 377493
server engine entries 1000 queue 600000 padding 0 delay 400
ada json token 0 echo plain
bob json token 0 echo plain
cyd json token 0 echo plain
     0 bob connects
     0 bob reads slowly by 979
 13187 bob enters red as x
 15702 bob is offline for 5120
 22320 server stores 3 and refuses
 23858 cyd receives damage
