seed 4965
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 0 echo plain
bob json token 0 echo plain
     0 bob connects
     0 bob enters red as y
    25 server jumps by -586749
    25 bob restarts
