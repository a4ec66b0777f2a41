seed 5000960664
server engine entries 6 queue 600000 padding 0 delay 400
ada json token 0 echo plain objects
bob json token 0 echo plain objects
cyd json token 0 echo plain objects
     0 ada connects
     0 bob connects
     0 cyd connects
     0 bob leaves red as x
     0 cyd reads slowly by 1195
     0 cyd attaches red
     0 bob is cut with 792 up and 6 down
  1969 ada replies 2 times on red
  1969 ada sets tone on red
  3177 bob publishes 2 on red
  3177 bob goes dead
  3177 cyd sleeps for 29921
  3177 server stores 2 and refuses
  3177 ada adds 2 on red
  3765 bob enters red as x
  3765 ada publishes 1 on red
  3765 ada enters red as x
  3765 bob publishes 3 on red
