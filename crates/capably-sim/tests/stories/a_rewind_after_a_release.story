seed 11809
server memory entries 1000 queue 600000 padding 0 delay 40
ada json token 26000 echo plain
     0 ada connects
    76 ada leaves red as x
   160 ada releases red
   160 ada attaches red
   160 ada publishes 1 on red
   160 ada rewinds red by 3
