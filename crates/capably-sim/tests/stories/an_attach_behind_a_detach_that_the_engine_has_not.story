seed 27685
server engine entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada connects
     0 ada enters red as x
    25 ada releases red
    25 ada enters red as y
    37 ada is cut with 475 up and 343 down
    37 ada sleeps for 33254
