"""STROTSS and NNST in PyTorch, transcribed from the papers' formulas; uses nothing of jaxnst's code.

Kolkin, Salavon and Shakhnarovich 2019, Style transfer by relaxed optimal transport and self-similarity;
Kolkin et al. 2022, Neural neighbor style transfer. Columns are tensors [n, d].
"""

import torch
import torch_reference as reference
from torch.nn import functional

TO_BLOCK_3 = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_4")
STROTSS_LAYERS = (*TO_BLOCK_3, "relu4_1", "relu5_1")
NNST_LAYERS = (*TO_BLOCK_3, "relu4_1", "relu4_2", "relu4_4")
CAFFE_TO_UNIT = 1 / (255 * 0.226)
"""The presets use features of the size of torchvision's, whose input has a standard deviation of one."""


# ---- positions ----


def at_positions(maps, size, rows, columns):
    """Samples maps [C, H_l, W_l], enlarged bilinearly to `size`, at the crossings of rows and columns."""
    y = (2 * rows + 1) / size[0] - 1
    x = (2 * columns + 1) / size[1] - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    options = {"padding_mode": "border", "align_corners": False}
    sampled = [functional.grid_sample(values[None], grid.to(values.dtype), **options)[0] for values in maps]
    return torch.cat(sampled).flatten(1).T


def columns_of(network, image, layers, positions):
    features = reference.features(network, image, layers)
    return at_positions([CAFFE_TO_UNIT * features[layer] for layer in layers], image.shape[:2], *positions)


# ---- losses ----


def cosine_distance(a, b):
    return 1 - functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T


def relaxed_emd(costs):
    return torch.maximum(costs.min(dim=1).values.mean(), costs.min(dim=0).values.mean())


def moments(a, b):
    def covariance(x):
        centred = x - x.mean(0)
        return centred.T @ centred / len(x)

    return (a.mean(0) - b.mean(0)).abs().mean() + (covariance(a) - covariance(b)).abs().mean()


def self_similarity(a, content):
    def relative(x):
        distances = cosine_distance(x, x)
        return distances / distances.sum(0, keepdim=True)

    return (relative(a) - relative(content)).abs().sum() / len(a)


def yuv(colors):
    red, green, blue = colors.unbind(-1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, 0.492 * (blue - luma), 0.877 * (red - luma)], dim=-1)


def palette(a, b):
    return relaxed_emd(torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist"))


def colors_of(image, positions):
    return at_positions([yuv(image).permute(2, 0, 1)], image.shape[:2], *positions)


def neighbor_loss(ours, content, style, share, widths=None):
    """Returns the mean cosine distance to the neighbours; `widths` of the layers, if each has its own."""
    if widths is not None:
        parts = zip(*(x.split(widths, dim=1) for x in (ours, content, style)), strict=True)
        return sum(neighbor_loss(*part, share) for part in parts) / len(widths)
    query = (share * content + (1 - share) * ours).detach()
    nearest = cosine_distance(query - query.mean(0), style - style.mean(0)).argmin(dim=1)
    return (1 - functional.cosine_similarity(ours, style[nearest], dim=1)).mean()


# ---- presets ----


def strotss(network, image, content, style, positions, style_positions, content_weight):
    ours = columns_of(network, image, STROTSS_LAYERS, positions)
    theirs = columns_of(network, style, STROTSS_LAYERS, style_positions)
    photo = columns_of(network, content, STROTSS_LAYERS, positions)
    parts = {
        "content": self_similarity(ours, photo),
        "style": relaxed_emd(cosine_distance(ours, theirs)) + 0.1 * moments(ours, theirs),
        "palette": palette(colors_of(image, positions), colors_of(style, style_positions)),
    }
    total = content_weight * parts["content"] + parts["style"] + parts["palette"] / content_weight
    return {"total": total, **parts}


def nnst(network, image, content, style, positions, positions_of, split):
    ours = columns_of(network, image, NNST_LAYERS, positions)
    photo = columns_of(network, content, NNST_LAYERS, positions)
    turned = [torch.rot90(style, turns, (0, 1)) for turns in range(4)]
    theirs = torch.cat([columns_of(network, x, NNST_LAYERS, positions_of(x.shape[:2])) for x in turned])
    features = reference.features(network, style, NNST_LAYERS)
    widths = [features[layer].shape[0] for layer in NNST_LAYERS] if split else None
    parts = {
        "style": neighbor_loss(ours, photo, theirs, 0.25, widths),
        "palette": palette(colors_of(image, positions), colors_of(style, positions_of(style.shape[:2]))),
    }
    return {"total": sum(parts.values()), **parts}


# ---- the pyramid ----


def resized(image, size):
    nchw = image.permute(2, 0, 1)[None]
    small = functional.interpolate(nchw, size=size, mode="bilinear", antialias=True, align_corners=False)
    return small[0].permute(1, 2, 0)


def pyramid(image, levels=5):
    """Returns the levels of the Laplacian pyramid, finest first."""
    parts = []
    for _ in range(levels - 1):
        size = image.shape[0] // 2, image.shape[1] // 2
        if min(size) < 1:
            break
        coarser = resized(image, size)
        parts.append(image - resized(coarser, image.shape[:2]))
        image = coarser
    return [*parts, image]
