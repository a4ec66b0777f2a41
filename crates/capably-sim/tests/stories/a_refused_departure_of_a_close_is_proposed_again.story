seed 593
server engine entries 1000 queue 600000 padding 0 delay 40
ada json token 36000 echo plain
     0 ada connects
    30 ada authorizes
    58 ada enters red as x
    83 ada publishes 2 on red
   113 ada publishes 2 on red
   172 server refuses 2
   172 ada rewinds red by 3
   182 ada closes
   235 ada is cut with 92 up and 351 down
