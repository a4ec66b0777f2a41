seed 4956222
server engine entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain objects
     0 ada connects
     0 ada enters red as x
     0 ada publishes 1 on red
     0 ada enters red as y
    31 ada pings
    31 ada sets tone on blue
    81 ada adds 3 on red
  1307 ada adds 5 on red
  1343 ada goes dead
  3171 ada sets tone on blue
  3589 ada sets tone on red
  5993 ada adds 5 on red
  7238 ada adds 6 on red
  7238 ada sets hue on blue
 10013 ada enters red as x
 10013 ada publishes 1 on red
 10013 ada is cut with 840 up and 447 down
 10030 ada detaches red
 10054 ada attaches red
 10101 server crashes for 6060 with 2 stored
