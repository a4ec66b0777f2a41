seed 132684
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada enters red as x
     0 ada connects
    25 ada goes dead
    25 ada detaches red
    25 ada recovers
    50 ada releases red
    50 ada enters red as y
