"""Small DICOM series, written by pydicom a slice at a time."""

import numpy as np
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SHAPE = (20, 16, 6)  # columns, rows, slices
SPACING = (0.7, 0.9, 2.5)  # from column to column, from row to row, from slice to slice
ORIGIN = (-31.5, 12.25, 107.0)
SLOPE, INTERCEPT = 2, -1000


def rotation(axis, degrees):
    """Rodrigues' formula."""
    axis = np.array(axis) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    angle = np.radians(degrees)
    return np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine(directions, spacing=SPACING):
    """From column, row and slice to mm, RAS+, by where each of them runs, LPS."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = directions * np.array(spacing), ORIGIN
    return np.diag([-1.0, -1, 1, 1]) @ matrix


AFFINES = {
    "axial": affine(np.eye(3)),
    "sagittal": affine(np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])),
    "coronal": affine(np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])),
    "oblique": affine(rotation([1, 2, 3], 25)),
    "short_axis": affine(rotation([3, -1, 1], 52)),
}
#: Against row × column, from the head to the feet.
DOWNWARDS = affine(np.diag([1.0, 1, -1]))
#: The planes are turned, the table is not, so that the stack is sheared.
TILTED = affine(np.column_stack([rotation([1, 0, 0], 20)[:, :2], [0, 0, 1]]))


def write_series(folder, voxels, matrix=AFFINES["axial"], change=None, **header):
    """Writes ``voxels``, ``(column, row, slice)``: HU, which SLOPE and INTERCEPT make of what is stored.

    Neither names of files nor instance numbers follow the slices. ``change`` gets every dataset and the
    number of its slice; a value of ``header`` takes the place of the usual one, and None leaves it out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    to_lps = np.diag([-1.0, -1, 1, 1]) @ matrix
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    cosines = (to_lps[:3, :2] / spacing[:2]).T.ravel()
    study, series, frame = (generate_uid() for _ in range(3))
    order = np.random.default_rng(5).permutation(voxels.shape[2])
    for k in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
            CTImageStorage,
            generate_uid(),
        )
        plane = FileDataset(folder, {}, file_meta=meta, preamble=b"\0" * 128)
        position = to_lps @ [0, 0, k, 1]
        values = {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "FrameOfReferenceUID": frame,
            "SpecificCharacterSet": "ISO_IR 100",
            "Modality": "CT",
            "PatientID": "p1",
            "PatientName": "Müller^Jörg",
            **dict.fromkeys(["PatientBirthDate", "PatientSex", "AccessionNumber"], ""),
            **dict.fromkeys(["StudyID", "StudyDate", "StudyTime"], ""),
            "SeriesNumber": 3,
            "InstanceNumber": int(order[k]) + 1,
            "ImagePositionPatient": [f"{value:.9g}" for value in position[:3]],
            "ImageOrientationPatient": [f"{value:.9g}" for value in cosines],
            "PixelSpacing": [f"{spacing[1]:.9g}", f"{spacing[0]:.9g}"],
            "SliceThickness": f"{spacing[2]:.9g}",
            "Rows": voxels.shape[1],
            "Columns": voxels.shape[0],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "RescaleSlope": SLOPE,
            "RescaleIntercept": INTERCEPT,
            **header,
        }
        for keyword, value in values.items():
            if value is not None:
                setattr(plane, keyword, value)
        stored = (voxels[:, :, k].T - INTERCEPT) / SLOPE
        plane.PixelData = np.ascontiguousarray(stored, "<i2").tobytes()
        if change:
            change(plane, k)
        plane.save_as(folder / f"IM{int(order[k]):04d}", enforce_file_format=True)
    return folder


def read_back(file, shape, matrix):
    """The values of every segment of a segmentation, ``(column, row, slice, segment)``.

    Each frame is put where it says that it is, on a grid of an affine, RAS+; elsewhere is 0.
    """
    seg = dcmread(file)
    shared, frames = seg.SharedFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    down, across = shared.PixelMeasuresSequence[0].PixelSpacing
    y, x = np.mgrid[: seg.Rows, : seg.Columns][..., None]
    values = np.zeros((*shape, len(seg.SegmentSequence)), int)
    to_index = np.linalg.inv(np.diag([-1.0, -1, 1, 1]) @ matrix)
    for frame, pixels in zip(
        frames, seg.pixel_array.reshape(-1, seg.Rows, seg.Columns), strict=True
    ):
        origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        place = origin + x * across * row + y * down * column
        index = place @ to_index[:3, :3].T + to_index[:3, 3]
        np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
        segment = (frame if "SegmentIdentificationSequence" in frame else shared)[
            "SegmentIdentificationSequence"
        ][0].ReferencedSegmentNumber
        i, j, k = np.moveaxis(np.rint(index).astype(int), -1, 0)
        values[i, j, k, segment - 1] = pixels
    return values
