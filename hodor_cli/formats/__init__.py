"""Reads and writes the annotations of other tools. All formats convert from and to `Annotations` (annotations.py).

    annotations = read_annotations(path)    recognise.py         read any known format; `WRITERS` can be written
    number_together([...])                  numbering.py         give objects ids by group, track or name
    read_given(arguments, source)           mask_arguments.py    read `--mask`: masks and other tools' files, per frame
    open_set(folder, annotations)           opening.py           open a data set of any tool as StillImages or ClipSet
    check_dataset(folder)                   check.py             report all faults of a data set
    outlines(mask), one_outline(mask)       outlines.py          polygons that reproduce the mask exactly
    new_folder(path)                        writing.py           a folder that appears only when it is complete

labelme.py, coco.py, yolo.py, cvat.py, label_studio.py, label_pictures.py, tables.py and media.py hold one format each.
"""
