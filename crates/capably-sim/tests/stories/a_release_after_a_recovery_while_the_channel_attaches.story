seed 2530248
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada connects
     0 ada reads slowly by 205
     0 ada enters red as x
  1375 ada is cut with 412 up and 742 down
  1734 ada recovers
  2007 ada releases red
  2007 ada attaches red
