"""What lastgood puts into every image beside the migrator, so that a project needs no line of code for it.

`hook` runs when Python starts (lastgood.pth, among the image's packages) and puts `health` in front of Django, whichever server runs it.
It needs the standard library, Django where there is Django already, and the package `migrator`.
"""
