"""Detection that works offline: OpenCV's cascades, whose models come in its wheel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_int, check_real, check_text
from midstream.stream.media.extra import library
from midstream.stream.media.interfaces import DetectedObject

__all__ = ["CascadeDetector"]

#: Ours -> the models of OpenCV 4.
_MODELS = {
    "face": "haarcascade_frontalface_default.xml",
    "profile": "haarcascade_profileface.xml",
    "eye": "haarcascade_eye.xml",
    "smile": "haarcascade_smile.xml",
    "body": "haarcascade_fullbody.xml",
    "upper_body": "haarcascade_upperbody.xml",
    "cat_face": "haarcascade_frontalcatface.xml",
}


class CascadeDetector:
    """Find faces, and what else OpenCV has cascades for, offline.

    Parameters
    ----------
    label : str, default "face"
        ``"face"`` (from the front), ``"profile"``, ``"eye"``, ``"smile"``, ``"body"``,
        ``"upper_body"`` or ``"cat_face"``.
    min_size : int, default 24
        Smallest side of what is found, in pixels.
    scale : float, default 1.1
        From one size that is tried to the next; nearer to 1 finds more, and takes longer.
    neighbours : int, default 5
        Places close by that must agree; more is surer.

    Raises
    ------
    ModuleNotFoundError
        OpenCV 4 is not installed: ``pip install "midstream[vision]"``.
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    These are the detectors of Viola and Jones: fast, and wrong now and then. `DetectedObject.score`
    is the weight of the last stage, higher is surer. 20 to 60 milliseconds for 1280 x 720. One
    thread at a time.

    References
    ----------
    P. Viola, M. Jones, "Rapid object detection using a boosted cascade of simple features", CVPR
    2001.

    Examples
    --------
    >>> detector = CascadeDetector("face", min_size=48)  # doctest: +SKIP
    >>> detector.detect(picture)  # doctest: +SKIP
    [DetectedObject(label='face', box=(155, 105, 222, 222), score=4.583)]
    """

    def __init__(
        self,
        label: str = "face",
        *,
        min_size: int = 24,
        scale: float = 1.1,
        neighbours: int = 5,
    ) -> None:
        self._cv2 = library("cv2", "CascadeDetector", '"midstream[vision]"')
        if not hasattr(self._cv2, "CascadeClassifier"):
            raise ModuleNotFoundError(
                f"CascadeDetector needs OpenCV 4, not {self._cv2.__version__}: "
                'pip install "midstream[vision]"',
                name="cv2",
            )
        check_text("label", label)
        if label not in _MODELS:
            raise ArgumentValueError(f"label must be one of {', '.join(_MODELS)}, got {label!r}")
        self._label = label
        self._min_size = check_int("min_size", min_size, low=8, high=10_000)
        self._scale = check_real("scale", scale, low=1.01, high=4.0)
        self._neighbours = check_int("neighbours", neighbours, low=1, high=1000)
        model = Path(self._cv2.data.haarcascades) / _MODELS[label]
        self._cascade = self._cv2.CascadeClassifier(str(model))
        if self._cascade.empty():
            raise ArgumentValueError(f"label {label!r}: this OpenCV has no {model.name}")

    def detect(self, picture: npt.NDArray[np.uint8]) -> list[DetectedObject]:
        """Look at a picture.

        Parameters
        ----------
        picture : (height, width, 3) array of uint8
            In the order red, green, blue.

        Returns
        -------
        list of DetectedObject
            The surest first.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ArgumentValueError(
                f"picture must be (height, width, 3) of uint8, got {picture.shape} "
                f"of {picture.dtype}"
            )
        grey = self._cv2.cvtColor(np.ascontiguousarray(picture), self._cv2.COLOR_RGB2GRAY)
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey,
            scaleFactor=self._scale,
            minNeighbors=self._neighbours,
            minSize=(self._min_size, self._min_size),
            outputRejectLevels=True,
        )
        found = [
            DetectedObject(self._label, (int(x), int(y), int(w), int(h)), round(float(weight), 3))
            for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True)
        ]
        return sorted(found, key=lambda thing: -(thing.score or 0.0))
