seed 20856
server engine entries 1000 queue 600000 padding 0 delay 400
ada json token 0 echo plain
     0 ada connects
     0 ada enters red as y
  1274 ada detaches red
  2066 ada sleeps for 12203
  2066 ada attaches red
