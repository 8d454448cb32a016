"""Reads and writes the annotations of other tools. All formats convert from and to `Annotations` (annotations.py).

    annotations = read_annotations(path)    recognise.py         read any known format; `WRITERS` can be written
    number_together([...])                  numbering.py         assign object ids by group, track or name
    read_given(arguments, source)           mask_arguments.py    read `--mask`: masks and other tools' files, per frame
    open_set(folder, annotations)           opening.py           open any tool's data set as StillImages or ClipSet
    read_labelled(folder)                   photograph_masks.py  photographs in images/ with label pictures in masks/
    check_dataset(folder)                   check.py             report all faults of a data set
    outlines(mask), one_outline(mask)       outlines.py          polygons that reproduce the mask exactly
    new_folder(path)                        writing.py           a folder that appears only when it is complete

Each format has one module. labelme, coco, coco_video, yolo, cvat, label_studio, voc, label_png and label_tiff are read,
and most of them are also written; tables and media are only written. To add a format, write a module with `find` and
`read`, with `write`, or with all three (start from labelme.py), and list it in recognise.py.
"""
