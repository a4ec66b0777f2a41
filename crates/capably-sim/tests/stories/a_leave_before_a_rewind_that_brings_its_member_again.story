seed 441526
server memory entries 1000 queue 600000 padding 0 delay 400
ada json token 39000 echo plain
     0 ada connects
   624 ada leaves red as y
  1551 ada enters red as x
  1779 ada is cut with 551 up and 23 down
  2631 ada leaves red as x
  3105 ada rewinds red by 2
  3535 server crashes for 5375 with 0 stored
