seed 10940
server engine entries 1000 queue 600000 padding 0 delay 40
ada json token 0 echo ids
bob json token 0 echo plain
     0 ada connects
    55 bob connects
    55 ada publishes 1 on red
   124 server crashes for 2770 with 1 stored
   124 server jumps by 538389
