seed 11400
server memory entries 1000 queue 600000 padding 0 delay 40
ada json token 48000 echo plain
     0 ada connects
    27 ada enters red as x
   164 ada detaches red
   186 ada goes dead
