seed 4718724
server memory entries 1000 queue 600000 padding 0 delay 400
ada json token 16000 echo plain objects
bob json token 0 echo plain objects
     0 ada connects
     0 bob connects
     0 bob attaches red
  3636 bob publishes 1 on red
  3636 bob publishes 1 on red
  3636 bob enters red as x
  3636 bob detaches red
  3636 server crashes for 3860 with 0 stored
 10843 bob attaches red
 10843 server crashes for 2699 with 2 stored
