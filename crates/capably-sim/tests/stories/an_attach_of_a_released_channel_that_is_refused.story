seed 4776459
server engine entries 1000 queue 600000 padding 0 delay 400
ada json token 0 echo plain objects
     0 ada connects
     0 ada attaches red
 18741 server stalls for 3445
 18741 ada publishes 2 on red
 18741 ada publishes 3 on red
 18841 ada rewinds red by 1
 18841 ada releases red
 18841 ada attaches red
 18941 ada publishes 2 on red
