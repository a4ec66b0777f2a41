seed 2040875
server engine entries 6 queue 600000 padding 0 delay 5
ada json token 0 echo plain objects
bob json token 0 echo plain objects
cyd json token 0 echo plain objects
     0 ada connects
     0 bob connects
     0 bob attaches red
     0 cyd connects
    23 ada publishes 1 on red
    30 server stores 2 and refuses
    30 bob goes dead
    30 ada enters red as y
    42 ada sets hue on red
    42 ada publishes 2 on red
    42 cyd enters red as x
    42 cyd publishes 2 on red
    42 ada adds 2 on red
    42 cyd publishes 2 on red
    42 cyd publishes 3 on red
