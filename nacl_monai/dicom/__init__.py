"""Maps that inference has written, as DICOM segmentations of the series from which they were made.

The command is ``nacl-monai dicom SERIES MAP``. It needs highdicom (the extra ``dicom``) and no model.
"""
