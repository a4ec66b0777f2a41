seed 210976
server engine entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain objects
bob json token 0 echo plain objects
     0 bob connects
     0 bob attaches red
     0 server stalls for 3834
     0 bob publishes 3 on red
    25 bob recovers
  1864 server stalls for 3750
  4553 bob attaches red
