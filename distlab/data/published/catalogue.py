"""The data sets that are published: where their files are, what they hold, and their checksums."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from distlab.data.dataset import Form
from distlab.data.formats import cifar

DIGITS = Form((1, 28, 28), 10)
"""Of MNIST and of all that took its form."""

MNIST_FILES = {
    "train-images": "train-images-idx3-ubyte.gz",
    "train-labels": "train-labels-idx1-ubyte.gz",
    "t10k-images": "t10k-images-idx3-ubyte.gz",
    "t10k-labels": "t10k-labels-idx1-ubyte.gz",
}
"""MNIST's four files, whose names most sets of its form took over, by their stems."""


@dataclass(frozen=True)
class Published:
    """A data set on public servers.

    Attributes
    ----------
    title:
        What its authors call it.
    folder:
        What torchvision calls its folder.
    mirrors:
        URLs of folders that hold the files, tried in turn.
    files:
        SHA-256 of each file by its name.
    megabytes:
        How much is downloaded.
    form:
        Of its data.
    """

    title: str
    folder: str
    mirrors: tuple[str, ...]
    files: Mapping[str, str]
    megabytes: int
    form: Form = field(default=DIGITS)


def _named(*sums: str) -> dict[str, str]:
    return dict(zip(MNIST_FILES.values(), sums, strict=True))


MNIST = Published(
    "MNIST",
    "MNIST",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    _named(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    12,
)
"""At PyTorch's and the Common Visual Data Foundation's."""

FASHION_MNIST = Published(
    "Fashion-MNIST",
    "FashionMNIST",
    (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    _named(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    31,
)
"""Xiao et al. (2017). Checksums as TensorFlow Datasets has them."""

KMNIST = Published(
    "Kuzushiji-MNIST",
    "KMNIST",
    (
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    _named(
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
    22,
)
"""Clanuwat et al. (2018). Checksums as TensorFlow Datasets has them."""

EMNIST_ARCHIVE = "gzip.zip"

EMNIST = Published(
    "EMNIST",
    "EMNIST",
    (
        "https://biometrics.nist.gov/cs_links/EMNIST/",
        "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
    ),
    {EMNIST_ARCHIVE: "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"},
    562,
)
"""Cohen et al. (2017): one archive of all splits. Checksum as TensorFlow Datasets has it."""

SPLITS = {"balanced": 47, "byclass": 62, "bymerge": 47, "digits": 10, "letters": 26, "mnist": 10}
"""EMNIST's splits, and how many classes each has."""

CIFAR10 = Published(
    "CIFAR-10",
    "CIFAR10",
    (
        "https://www.cs.toronto.edu/~kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
    {cifar.ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    170,
    Form(cifar.SHAPE, 10),
)
"""Krizhevsky (2009), the binary version. Checksum as TensorFlow Datasets has it."""

PUBLISHED = {
    "mnist": MNIST,
    "fashion_mnist": FASHION_MNIST,
    "kmnist": KMNIST,
    "emnist": EMNIST,
    "cifar10": CIFAR10,
}
"""By the value of ``data=``."""
