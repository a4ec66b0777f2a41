seed 4457771
server engine entries 1000 queue 600000 padding 0 delay 5
ada json token 26000 echo ids objects
     0 ada connects
    25 ada publishes 2 on red
    25 ada sleeps for 29448
    25 ada dials slowly for 4294
    28 server crashes for 2680 with 1 stored
    28 server jumps by 87976
