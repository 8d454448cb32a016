"""Reads and writes the annotations of other tools. All formats convert from and to `Annotations` (annotations.py).

    annotations = read_annotations(path)    recognise.py         read any known format; `WRITERS` can be written
    number_together([...])                  numbering.py         give objects ids by group, track or name
    read_given(arguments, source)           mask_arguments.py    read `--mask`: masks and other tools' files, per frame
    open_set(folder, annotations)           opening.py           open a data set of any tool as StillImages or ClipSet
    read_labelled(folder)                   photograph_masks.py  photographs in images/ with label pictures in masks/
    check_dataset(folder)                   check.py             report all faults of a data set
    outlines(mask), one_outline(mask)       outlines.py          polygons that reproduce the mask exactly
    new_folder(path)                        writing.py           a folder that appears only when it is complete

Each format is one file: labelme.py, coco.py, coco_video.py, yolo.py, cvat.py, label_studio.py, voc.py, label_png.py and
label_tiff.py are read, most of them also written; tables.py and media.py are written only. A new format is a file with
`find` and `read`, `write`, or all three, and an entry in recognise.py; labelme.py is the one to copy.
"""
