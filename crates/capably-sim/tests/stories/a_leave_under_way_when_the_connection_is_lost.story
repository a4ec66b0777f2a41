seed 351
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
bob json token 0 echo plain
cyd json token 0 echo plain
     0 cyd connects
     0 cyd enters red as x
    25 cyd leaves red as x
    25 server crashes for 768 with 0 stored
