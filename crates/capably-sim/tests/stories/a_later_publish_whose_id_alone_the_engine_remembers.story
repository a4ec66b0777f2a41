seed 1028786
server engine entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo ids
     0 ada connects
     0 ada reads slowly by 1231
  2355 ada publishes 3 on red
  2364 server jumps by 137745
  2364 ada publishes 1 on red
  2367 server crashes for 5631 with 3 stored
