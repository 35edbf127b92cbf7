"""Which landmarks of MediaPipe's are OpenPose's keypoints: BlazePose's 33 to COCO's 18 of the body, the face
mesh's 468 to the 70 of the face. Hands are the same 21 in the same order in both.

OpenPose's layouts are those of its documentation (`doc/02_output.md`): the body's 18 keypoints of its COCO
model; of the face the 68 of iBUG 300-W (Sagonas et al., 2013) and the two pupils. "Right" is the person's.
"""

from enum import IntEnum

import numpy as np

from sd_plugin.plugins.openpose.regions import Points


class Blaze(IntEnum):
    """BlazePose's landmarks that are used, by their number."""

    NOSE = 0
    LEFT_EYE = 2
    RIGHT_EYE = 5
    LEFT_EAR = 7
    RIGHT_EAR = 8
    MOUTH_RIGHT = 10
    LEFT_SHOULDER = 11
    RIGHT_SHOULDER = 12
    LEFT_ELBOW = 13
    RIGHT_ELBOW = 14
    LEFT_WRIST = 15
    RIGHT_WRIST = 16
    LEFT_PINKY = 17
    RIGHT_PINKY = 18
    LEFT_INDEX = 19
    RIGHT_INDEX = 20
    LEFT_HIP = 23
    RIGHT_HIP = 24
    LEFT_KNEE = 25
    RIGHT_KNEE = 26
    LEFT_ANKLE = 27
    RIGHT_ANKLE = 28


#: The landmarks of the head: nose, eyes, ears and mouth.
HEAD = slice(Blaze.NOSE, Blaze.MOUTH_RIGHT + 1)

#: COCO's body in OpenPose's order: the landmarks that each keypoint is the middle of.
BODY: dict[str, tuple[Blaze, ...]] = {
    "nose": (Blaze.NOSE,),
    "neck": (Blaze.LEFT_SHOULDER, Blaze.RIGHT_SHOULDER),
    "right shoulder": (Blaze.RIGHT_SHOULDER,),
    "right elbow": (Blaze.RIGHT_ELBOW,),
    "right wrist": (Blaze.RIGHT_WRIST,),
    "left shoulder": (Blaze.LEFT_SHOULDER,),
    "left elbow": (Blaze.LEFT_ELBOW,),
    "left wrist": (Blaze.LEFT_WRIST,),
    "right hip": (Blaze.RIGHT_HIP,),
    "right knee": (Blaze.RIGHT_KNEE,),
    "right ankle": (Blaze.RIGHT_ANKLE,),
    "left hip": (Blaze.LEFT_HIP,),
    "left knee": (Blaze.LEFT_KNEE,),
    "left ankle": (Blaze.LEFT_ANKLE,),
    "right eye": (Blaze.RIGHT_EYE,),
    "left eye": (Blaze.LEFT_EYE,),
    "right ear": (Blaze.RIGHT_EAR,),
    "left ear": (Blaze.LEFT_EAR,),
}

#: Of the mesh, the face's first 68 keypoints in OpenPose's order, part by part.
FACE_PARTS: dict[str, tuple[int, ...]] = {
    "jaw, from the right ear to the chin": (127, 234, 93, 58, 172, 136, 149, 148, 152),
    "jaw, from the chin to the left ear": (377, 378, 365, 397, 288, 323, 454, 356),
    "right brow, inwards": (70, 63, 105, 66, 107),
    "left brow, outwards": (336, 296, 334, 293, 300),
    "nose, downwards": (168, 197, 5, 4),
    "nostrils, from the right": (98, 97, 2, 326, 327),
    "right eye, from its outer corner over the lid": (33, 160, 158, 133, 153, 144),
    "left eye, from its inner corner over the lid": (362, 385, 387, 263, 373, 380),
    "lips, from the right corner over the upper": (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),
    "mouth, from the right corner over the upper": (78, 81, 13, 311, 308, 402, 14, 178),
}
#: The parts whose middles stand for the pupils, which the mesh does not have.
EYES = ("right eye, from its outer corner over the lid", "left eye, from its inner corner over the lid")

FACE_KEYPOINTS, HAND_KEYPOINTS = 70, 21


def face(mesh: Points) -> Points:
    """OpenPose's keypoints (70, 2) of a face mesh (468, 2)."""
    contours = [mesh[list(part)] for part in FACE_PARTS.values()]
    pupils = [mesh[list(FACE_PARTS[eye])].mean(axis=0, keepdims=True) for eye in EYES]
    return np.concatenate([*contours, *pupils])
