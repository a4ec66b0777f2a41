seed 28314
server engine entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada connects
     0 server stalls for 3695
     0 ada enters red as y
    25 ada is cut with 916 up and 226 down
   185 ada recovers
