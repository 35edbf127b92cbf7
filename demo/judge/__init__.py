"""The judge: reads pictures independently of the networks that made them.

`reading` says what a picture shows and whether it agrees with a caption, `edges` whether it follows a
control map, `distance` how far two pictures are apart. Its network is trained on drawings only and never saw
a generated picture.
"""
