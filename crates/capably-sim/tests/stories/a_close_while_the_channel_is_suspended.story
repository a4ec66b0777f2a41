seed 2212662
server memory entries 1000 queue 600000 padding 0 delay 5
ada json token 16000 echo plain
     0 ada connects
  2424 ada enters blue as x
 41342 ada gets no answers for 34464
 71979 ada closes
 71979 ada connects
 71979 ada leaves blue as y
