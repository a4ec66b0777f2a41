seed 2421963
server engine entries 6 queue 600000 padding 0 delay 40
ada json token 0 echo plain
bob json token 0 echo plain
cyd json token 0 echo plain
     0 ada connects
     0 ada attaches red
     0 bob connects
     0 cyd connects
  3485 ada enters red as x
  3485 ada detaches red
  3485 bob enters red as x
  3485 bob publishes 3 on red
  3496 bob publishes 2 on red
  3525 ada goes dead
  3525 bob publishes 1 on red
  3525 bob closes
  3525 ada publishes 3 on red
  3525 ada publishes 2 on red
  3525 ada publishes 2 on red
  3525 ada reads slowly by 1073
 17027 ada publishes 3 on red
 17027 ada publishes 1 on red
 17027 cyd publishes 3 on red
 17027 ada goes dead
 17027 cyd publishes 1 on red
