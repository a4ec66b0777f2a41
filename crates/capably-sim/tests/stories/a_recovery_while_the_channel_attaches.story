seed 36746
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada connects
     0 ada enters red as x
    25 ada rewinds red by 3
    25 ada recovers
    25 ada attaches red
