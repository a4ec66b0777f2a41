seed 98363
server engine entries 1000 queue 600000 padding 0 delay 400
ada json token 0 echo plain
bob json token 13000 echo plain
     0 ada connects
     0 bob publishes 2 on red
     0 ada attaches red
  1748 server crashes for 4098 with 2 stored
  2232 ada goes dead
  2565 bob connects
  2665 ada publishes 2 on red
  2765 bob connects
  2765 bob enters red as y
  2765 bob publishes 3 on red
  2765 bob enters red as y
 12001 ada publishes 1 on red
 12001 ada replays red
 12348 ada leaves red as x
 12628 ada is cut with 915 up and 557 down
