seed 4430059
server engine entries 1000 queue 600000 padding 0 delay 40
ada json token 53000 echo plain objects
     0 ada connects
     0 ada attaches red
 16577 ada publishes 3 on red
 16601 ada enters red as y
 16614 ada is cut with 676 up and 955 down
 16753 ada sleeps for 188
 16830 ada enters red as x
 16830 ada detaches red
 16865 ada attaches red
 16902 ada publishes 2 on red
 16949 ada publishes 3 on red
 16976 ada lists blue
 16979 ada publishes 2 on red
 16979 ada is cut with 747 up and 89 down
 16979 ada pings
 17099 server crashes for 3330 with 0 stored
