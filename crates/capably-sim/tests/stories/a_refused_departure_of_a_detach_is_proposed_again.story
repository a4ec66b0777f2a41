seed 188
server engine entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada authorizes
     0 ada enters red as y
    50 server stores 1 and refuses
    50 ada detaches red
    56 ada lists red
