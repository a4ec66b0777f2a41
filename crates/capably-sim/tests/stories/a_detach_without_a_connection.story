seed 4433
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada connects
     0 ada enters red as y
    37 ada is offline for 30073
    37 ada detaches red
    37 ada lists red
