"""Masks in files: one decoder from what a file holds to object ids.

decode        `LabelReader` and `read_labels`: the decoder of every door, with an explicit policy for void pixels
mask_file     `read_mask`: one mask as a person made it, with sentences about how it was understood
masks         `[FRAME=]FILE` arguments and folders of masks, brought together per frame
mask_values, mask_colours, mask_array, soft_edges: what numbers, colours and arrays mean
numbers       the numbers of a mask file, read fast
"""
