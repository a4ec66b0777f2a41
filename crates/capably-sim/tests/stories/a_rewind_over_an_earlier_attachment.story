seed 7655
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
     0 ada connects
     0 ada rewinds red by 1
    22 ada enters red as x
    22 ada detaches red
    22 ada attaches red
    47 ada is cut with 544 up and 523 down
   147 server crashes for 4520 with 2 stored
