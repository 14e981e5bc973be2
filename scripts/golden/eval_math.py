"""Goldens of the evaluations' mathematics: accuracies by scikit-learn, retrieval by CLIP_benchmark's definition in torch, optima of
logistic regression by torch's L-BFGS in float64 and by scikit-learn, the AdamW probe by torch, McNemar's test by scipy.

eval_math.py OUT      (torch, scikit-learn, scipy; writes OUT/{classification,retrieval,logistic,adamw,mcnemar}.json)

Inputs are multiples of 1/64, which JSON and fp32 hold exactly.
"""

import json
import pathlib
import sys

import numpy as np
import scipy.stats
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

torch.set_num_threads(1)
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)


def grid(*shape, scale=1.0):
    return np.round(rng.normal(size=shape) * scale * 64) / 64


def write(name, value):
    (out / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")


def first_of_equals(scores, k):
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def classification():
    def case(name, scores, labels, ties=False):
        scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
        classes, top = scores.shape[1], first_of_equals(scores, 5)
        acc1 = float((top[:, 0] == labels).mean())
        acc5 = float((top == labels[:, None]).any(1).mean()) if classes >= 5 else None
        if not ties and classes > 5:
            assert acc1 == top_k_accuracy_score(labels, scores, k=1, labels=range(classes))
            assert acc5 == top_k_accuracy_score(labels, scores, k=5, labels=range(classes))
        recall = float(balanced_accuracy_score(labels, top[:, 0]))
        return dict(name=name, scores=scores.tolist(), labels=labels.tolist(), acc1=acc1, acc5=acc5, mean_per_class_recall=recall)

    n, classes = 60, 8
    labels = rng.integers(0, classes, n)
    absent = np.where(labels == 3, 4, labels)
    sure = lambda labels, classes, n: grid(n, classes) + 1.5 * np.eye(classes)[labels]
    tied = np.round(sure(labels, classes, n))
    duplicate = sure(labels, classes, n)
    duplicate[:, 5] = duplicate[:, 2]
    write(
        "classification",
        [
            case("ordinary", sure(labels, classes, n), labels),
            case("a class without images", sure(absent, classes, n), absent),
            case("ties", tied, labels, ties=True),
            case("two classes of one name", duplicate, labels, ties=True),
            case("all logits equal", np.zeros((6, 7)), [0, 1, 4, 5, 6, 0], ties=True),
            case("one image", sure(labels[:1], classes, 1), labels[:1]),
            case("fewer than five classes", sure(labels % 4, 4, n), labels % 4),
            case("five classes", sure(labels % 5, 5, n), labels % 5),
            case("uneven classes", sure(np.minimum(labels, 1), 6, n), np.minimum(labels, 1)),
        ],
    )


def retrieval():
    def case(name, images, texts, owners, ks):
        owners = torch.tensor(owners)
        unit = lambda x: F.normalize(torch.tensor(x), dim=-1)
        scores = unit(texts) @ unit(images).T
        positive = F.one_hot(owners, len(images)).bool()

        def hits(s, p, k):
            top = torch.tensor(first_of_equals(s.numpy(), k))
            return float(p.gather(1, top).any(1).double().mean())

        metrics = {}
        for k in ks:
            metrics[f"image_retrieval_recall@{k}"] = hits(scores, positive, k)
            metrics[f"text_retrieval_recall@{k}"] = hits(scores.T, positive.T, k)
        return dict(name=name, images=images.tolist(), texts=texts.tolist(), owners=owners.tolist(), ks=list(ks), metrics=metrics)

    images = grid(14, 6)
    owners = sorted(rng.integers(0, 14, 40).tolist() + [0, 13])
    about = lambda images, owners: images[owners] + grid(len(owners), images.shape[1], scale=1.2)
    without = [o for o in owners if o != 5]
    same = images.copy()
    same[9] = same[2]
    write(
        "retrieval",
        [
            case("several captions an image", images, about(images, owners), owners, (1, 5, 10)),
            case("an image without captions", images, about(images, without), without, (1, 5)),
            case("two equal images", same, about(same, owners), owners, (1, 5)),
            case("captions in any order", images, about(images, owners[::-1]), owners[::-1], (1, 5, 10)),
            case("k above the gallery", images[:3], about(images[:3], [0, 1, 1, 2]), [0, 1, 1, 2], (1, 5, 10)),
            case("one image", images[:1], about(images[:1], [0]), [0], (1,)),
        ],
    )


def logistic():
    def case(name, x, y, classes, l2, test):
        unit = lambda v: F.normalize(torch.tensor(v), dim=-1)
        xb = lambda v: torch.cat([unit(v), torch.ones(len(v), 1, dtype=torch.float64)], 1)
        target = torch.tensor(y)
        w = torch.zeros(x.shape[1] + 1, classes, dtype=torch.float64, requires_grad=True)
        options = dict(max_iter=5000, tolerance_grad=1e-11, tolerance_change=1e-16, line_search_fn="strong_wolfe", history_size=50)
        solver = torch.optim.LBFGS([w], **options)

        def objective():
            return F.cross_entropy(xb(x) @ w, target) + 0.5 * l2 * (w[:-1] ** 2).sum()

        def closure():
            solver.zero_grad()
            loss = objective()
            loss.backward()
            return loss

        solver.step(closure)
        best = objective().item()
        if len(set(y.tolist())) == classes > 2:
            model = LogisticRegression(C=1 / (len(y) * l2), tol=1e-10, max_iter=10000).fit(unit(x).numpy(), y)
            theirs = np.concatenate([model.coef_, model.intercept_[:, None]], 1).T
            with torch.no_grad():
                mine = w.clone()
                w.copy_(torch.tensor(theirs))
                assert abs(objective().item() / best - 1) < 1e-6, (name, objective().item(), best)
                w.copy_(mine)
        predicted = (xb(test) @ w).argmax(1).tolist()
        return dict(name=name, x=x.tolist(), y=y.tolist(), classes=classes, l2=l2, objective=best, test=test.tolist(), predicted=predicted)

    def labelled(n, d, classes, away=0.0, spread=1.0):
        centres = grid(classes, d, scale=spread)
        make = lambda y: centres[y] + grid(len(y), d) + away
        y = rng.integers(0, classes, n)
        return make(y), y, make(rng.integers(0, classes, 40))

    x, y, test = labelled(60, 8, 4)
    far = labelled(120, 12, 3, away=6.0)
    few = labelled(10, 24, 5)
    half = y % 2
    write(
        "logistic",
        [
            case("ordinary", x, y, 4, 1e-2, test),
            case("hardly any penalty", x, y, 4, 1e-5, test),
            case("a strong penalty", x, y, 4, 10.0, test),
            case("two classes", x, half, 2, 1e-3, test),
            case("a class without rows", x, np.where(y == 2, 0, y), 4, 1e-2, test),
            case("a last class without rows", x, y, 6, 1e-2, test),
            case("equal rows of unequal classes", np.concatenate([x, x]), np.concatenate([y, (y + 1) % 4]), 4, 1e-3, test),
            case("a large common mean", far[0], far[1], 3, 1e-4, far[2]),
            case("fewer rows than columns", few[0], few[1], 5, 1e-4, few[2]),
            case("one row", x[:1], np.array([1]), 3, 1e-2, test[:3]),
        ],
    )


def adamw():
    def case(name, weight_decay, classes):
        n, d, batch, epochs = 22, 6, 8, 3
        x, y = grid(n, d), rng.integers(0, classes, n)
        orders = [rng.permutation(n).tolist() for _ in range(epochs)]
        probe = torch.nn.Linear(d, classes)
        with torch.no_grad():
            probe.weight.copy_(torch.tensor(grid(classes, d, scale=0.4)))
            probe.bias.copy_(torch.tensor(grid(classes, scale=0.4)))
        start = dict(weight=probe.weight.flatten().tolist(), bias=probe.bias.tolist())
        features, target = F.normalize(torch.tensor(x).float(), dim=-1), torch.tensor(y)
        solver = torch.optim.AdamW(probe.parameters(), lr=0.1, weight_decay=weight_decay)
        batches, losses = -(-n // batch), []
        for epoch, order in enumerate(orders):
            found = []
            for i in range(batches):
                step, rows = epoch * batches + i, order[i * batch : (i + 1) * batch]
                for group in solver.param_groups:
                    group["lr"] = 0.5 * (1 + np.cos(np.pi * step / (epochs * batches))) * 0.1
                solver.zero_grad()
                loss = F.cross_entropy(probe(features[rows]), target[rows])
                loss.backward()
                solver.step()
                found.append(loss.item())
            losses.append(float(np.mean(found)))
        end = dict(weight=probe.weight.flatten().tolist(), bias=probe.bias.tolist())
        settings = dict(name=name, classes=classes, batch=batch, weight_decay=weight_decay)
        return dict(**settings, x=x.tolist(), y=y.tolist(), orders=orders, start=start, losses=losses, end=end)

    write("adamw", [case("no decay", 0.0, 4), case("a decay, of the bias too", 0.3, 3)])


def mcnemar():
    pairs = [(0, 0), (1, 0), (0, 2), (5, 5), (5, 6), (3, 12), (0, 40), (17, 90), (100, 140), (999, 1000), (998, 1000), (2500, 2700)]
    pairs += [(24000, 26000), (250000, 251500), (1000000, 1003000), (15, 31), (16, 31), (1, 2000)]
    p = lambda a, b: float(scipy.stats.binomtest(a, a + b, 0.5).pvalue) if a + b else 1.0
    write("mcnemar", [dict(only_a=a, only_b=b, p=p(a, b)) for a, b in pairs])


classification()
retrieval()
logistic()
adamw()
mcnemar()
