"""Data sets and their labels: folder layouts, the frame that each file belongs to, and the meaning of mask values.

Videos (DAVIS 2016 and 2017, YouTube-VOS, MOSE, LVOS, folders of images and masks):

    dataset = recognise(root)              dataset.py    sequences by name, each with images and masks by frame name
    clips = ClipSet(root)                  clips.py      the same for training: `load_frame`, `load_labels`
    match_names(files, frames)             matching.py   the frame that each file belongs to; raises if ambiguous
    match_mask_folder(folder, source)      matching.py   the frame of each mask in a folder

Photographs (COCO format):

    stills = StillImages(folder)           coco.py       `load(index)` gives the image and its objects' masks
    ImageFinder(folder).find(file_name)    coco_find.py  the image file that annotations name

Masks. The value 255 next to other ids means void: background in `ids`, and marked in a separate mask `void`.

    LabelReader(name).read(file)           labels/decode.py      the masks of one sequence, in order
    read_labels(file).ids                  labels/decode.py      one mask file
    read_mask(file)                        labels/mask_file.py   one mask file, with notes on how it was interpreted
    encode_rle, decode_segmentation        rle.py                COCO run lengths and polygons
    parse_json, xml_elements               parsing.py            JSON and XML files, parsed safely

`ObjectLimits` (limits.py) says which objects are large enough to train on. Faults raise DataError or InputError.
"""
