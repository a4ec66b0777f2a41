seed 1573
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada enters red as y
     0 ada connects
    12 ada releases red
    12 ada is cut with 875 up and 502 down
    12 ada attaches red
