seed 5000342062
server engine entries 1000 queue 600000 padding 0 delay 40
ada json token 33000 echo plain objects
     0 ada connects
     0 ada attaches red
    42 ada adds 8 on red
    82 ada enters red as y
   105 ada rewinds red by 2
   118 ada adds 8 on red
   118 ada leaves red as y
   133 ada adds 4 on red
   149 ada adds 5 on red
   185 ada enters red as y
   210 ada goes dead
