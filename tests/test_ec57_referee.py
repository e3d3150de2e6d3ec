"""Crowded, random pairs of annotators, with the counts of the C programs' logic.

No binary of WFDB 10.7 was to be had: the counts were printed by its comparison loops, re-typed in C from the published
sources over a plain text reader. Thousands of pairs like these agreed for each program; these are the busiest small
ones.
"""

import re
from typing import NamedTuple

import pytest

from ec57 import bxb, epicmp, rxr
from ec57.annotations import Annotation, Annotations


class Case(NamedTuple):
    fs: int
    length: int
    start_s: float
    reference: str
    test: str
    pairs: str
    rr: tuple[int, int]  # intervals, sum of squared errors in samples
    shutdown_s: int
    v_runs: list[int]  # found and missed, true and false: of couplets, short runs, long runs
    s_runs: list[int]
    af: list[
        int
    ]  # found, missed, samples in the reference and overlapped; true, false, samples in the test, overlapped
    vf: list[int]


# fmt: off
CASES = [
    Case(
        fs=128, length=1920, start_s=10,
        reference=(
            "989L 989S 996N 1045V 1092V 1118N 1148E 1213S 1238[ 1290S 1290/ 1313] 1383V 1404F 1477? 1508N "
            "1525+(AFIB 1525N 1617~-1 1617F 1655F 1726V 1763N 1817N 1843V 1895Q 1932[ 1959+(AFL 1959] 1997a "
            "2050+(AFIB 2101V 2127~48 2178Q "
        ),
        test=(
            "984L 990f 990N 1010a 1046j 1101V 1114N 1136E 1217S 1245[ 1287/ 1293S 1301] 1380S 1455? 1509N "
            "1523+(AFIB 1574V 1607~-1 1612F 1664n 1728V 1754N 1811N 1844V 1898Q 1930[ 1959] 1975+(AFL 2001a "
            "2070+(AFIB 2109V 2135~48 2177Q "
        ),
        pairs="Nn3 No1 Vs1 Vv2 Fs1 Ff1 Fo1 Qq1 Qo1 Oq1 Xv1", rr=(11, 6542), shutdown_s=0,
        v_runs=[0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0], s_runs=[1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1],
        af=[1, 0, 395, 395, 1, 0, 397, 395], vf=[1, 0, 33, 21, 1, 0, 21, 21],
    ),
    Case(
        fs=128, length=3200, start_s=5,
        reference=(
            "292+(VFL 427f 567Q 782N 894L 983V 1030+(AFL 1121~16 1233] 1337? 1457N 1542V 1639N 1694N 1775r 1838a "
            "1959+(AFIB 2074+(VF 2193r 2306r 2363a 2498+zz 2583A 2714N 2899~16 3016~48 3148[ 3232N "
        ),
        test=(
            "308+(VFL 429f 579? 773N 895L 994V 1027+(AFL 1126~16 1231] 1324? 1449N 1530V 1711N 1775r 1955+(AFIB "
            "2084+(VF 2198r 2304N 2492+zz 2580A 2745N 2901~16 3015~48 3148[ 3238N 3327R "
        ),
        pairs="Nn4 No2 Ss1 So2 Vn1 Vv4 Qq1 Xn1", rr=(15, 211005), shutdown_s=3,
        v_runs=[0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1, 0], s_runs=[1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
        af=[1, 0, 115, 115, 1, 0, 129, 115], vf=[1, 0, 52, 52, 1, 0, 52, 52],
    ),
    Case(
        fs=250, length=6250, start_s=5,
        reference=(
            "198N 434N 621~16 804~48 1048L 1240V 1543B 1704! 1817N 2076/ 2258A 2535~48 2781N 3014N 3199r 3381e "
            "3680? 3894+(AFIB 4044V 4264/ 4402F 4602+(VT 4823S 4973F 5191~0 5321V 5519[ 5909N 6099N 6311f 6510? "
        ),
        test=(
            "208N 423R 442L 617~16 797~48 1010L 1246V 1539B 1717! 1814N 2074/ 2208A 2534~48 2777N 3008N 3179r "
            "3360e 3661? 3914+(AFIB 4137J 4384F 4820S 5228~0 5497[ 6098N 6319f 6484? "
        ),
        pairs="Nn4 Ss2 Sx1 Vv1 Vo2 Ff1 Fo1 Qq2 Qo1 Os2", rr=(14, 94070), shutdown_s=4,
        v_runs=[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
        af=[1, 0, 708, 688, 1, 0, 2336, 688], vf=[1, 0, 731, 731, 1, 0, 753, 731],
    ),
    Case(
        fs=250, length=6250, start_s=5,
        reference=(
            "502E 684+(AFIB 889N 1125V 1342f 1549/ 1905A 2104e 2384V 2552N 3003? 3201N 3366? 3585N 3701N 3782N "
            "3966r 4151? 4354N 4527? 4761~48 4968N 5296B 5568[ 5763/ 5863+(N 6137+(AFIB 6387r 6624Q 6766! "
        ),
        test=(
            "3306e 3490f 3719N 3896V 3995e 4205~48 4481S 4650N 4832+(VT 4980+(AFIB 5220N 5415J 5551? 5768V 5900N "
            "6151L 6347~0 6501e 6734n 6989e "
        ),
        pairs="Nn1 No6 Nx1 So2 Vs1 Vo1 Qo5 Qx1 On1 Os3 Ov1 Oq2 Xn1", rr=(10, 107214), shutdown_s=2,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], s_runs=[1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1],
        af=[2, 0, 4726, 996, 1, 0, 1270, 996], vf=[0, 1, 682, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=360, length=9000, start_s=5,
        reference=(
            "142N 344N 722N 1062A 1307a 1862+(AFIB 2159V 2459~48 2885S 3334V 3651B 3949] 4216] 4471~51 4686J "
            "4912] 5311S 5553J 5917R 6341B 7004? 7339[ 7646J 7998! 8190B 8434n 8707F 9055? 9199F 9478n 9767A "
        ),
        test=(
            "157N 346N 364R 705n 1036A 1844S 1862+(AFIB 2258V 2431~48 2859S 3310V 3660B 3948] 4229] 4481~51 4676V "
            "4926] 5294S 5361N 5929R 6322B 6995? 7367[ 7660V 7941R 8163B 8406n 8745F 9101? 9199F 9475n 9784N "
        ),
        pairs="Nn3 Ss2 Sv1 So1 Vv1 Vo1 Qq1 On1 Xv1", rr=(9, 372564), shutdown_s=4,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0], s_runs=[0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0],
        af=[1, 0, 7138, 7138, 1, 0, 7138, 7138], vf=[1, 0, 1661, 1633, 1, 0, 1633, 1633],
    ),
    Case(
        fs=250, length=6250, start_s=5,
        reference=(
            "525Q 682N 917a 1094+(AFL 1332F 1528N 1688j 1782N 1965N 2180Q 2353F 2589J 2797F 3089r 3349] 3583? "
            "3714V 3873R 4080N 4225~1 4400e 4625B 5063+(VF 5322n 5418[ 5642N 5797n 6092N 6274L 6696N 6938N "
        ),
        test=(
            "77r 277~48 456r 697N 902N 1073r 1336? 1468N 1627E 1830~51 2078F 2342N 2559+zz 2773N 2981e 3152L "
            "3350a 3578N 3839e 3982A 4206S 4404V 4641? 4772r 4965? 5163[ 5386V 5529a 5628? 5838j 5979B 6055V "
            "6268A "
        ),
        pairs="Ns1 Nq1 No2 Nx2 Sv1 So2 Sx1 Vo2 Fn2 Fq1 Qn1 Qo1 On2 Os4 Ov2 Of1 Oq1", rr=(22, 1041709), shutdown_s=3,
        v_runs=[0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0], s_runs=[0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[1, 0, 832, 832, 1, 0, 1087, 832],
    ),
    Case(
        fs=500, length=12500, start_s=5,
        reference=(
            "648F 1040j 1694F 2145~48 2673N 2956r 3297J 3657n 3963+(AFL 4412~51 4753f 5282~48 5634e 5972N 6863f "
            "7155j 7540N 7850L 8253J 8601J 9016/ 9387[ 9835! 10235+(AFIB 10710] 10986J 11505+(B 12057~1 12533F "
            "12870V "
        ),
        test=(
            "623F 1029j 1674F 2117~48 2678N 3007E 3257F 3652n 4000+(AFL 4380~51 4750f 5243~48 5643e 5931N 6815f "
            "7172j 7575F 7590Q 7880L 8601J 8952/ 9379[ 9793/ 10263+(AFIB 10723] 10814N 10956J 11502+(B 12057~1 "
            "12571F 12852V "
        ),
        pairs="Nn3 Nf1 Ss5 Sf1 So1 Vv1 Qq3 On1 Oq1", rr=(12, 350494), shutdown_s=5,
        v_runs=[0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1], s_runs=[1, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        af=[1, 0, 1270, 1239, 1, 0, 1239, 1239], vf=[1, 0, 1323, 1323, 1, 0, 1344, 1323],
    ),
    Case(
        fs=360, length=9000, start_s=5,
        reference=(
            "962V 1181R 1362n 1672R 1918R 2391B 2678S 2959! 3281E 3652+(AFIB 3987V 4274N 4445A 4648r 4940N 5216B "
            "5541V 5758V 6045B 6342E 6749j 7078+(AFIB 7382V 7740S 7938L 8159r 8366A 8764[ 9214] "
        ),
        test=(
            "985V 1203R 1358n 1750R 1824L 1848e 2229N 2383B 2644J 2938! 3277E 3637+(AFIB 3861N 3904V 4290N 4639N "
            "4885? 5213B 5512V 5800V 6475V 6766j 7088+(AFIB 7372V 7747S 7961L 8395A 8778[ 9239] "
        ),
        pairs="Nn4 No3 Ss4 So1 Vn1 Vv4 Vo3 On2 Os1 Ov2 Oq1", rr=(27, 1287235), shutdown_s=0,
        v_runs=[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], s_runs=[3, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0],
        af=[1, 0, 5348, 5348, 1, 0, 5363, 5348], vf=[1, 0, 236, 222, 1, 0, 222, 222],
    ),
]
# fmt: on


def marks(text: str) -> Annotations:
    found = re.findall(r"(\d+)([^\s\d])(\S*)", text)
    return Annotations(
        tuple(
            Annotation(int(sample), symbol, aux=rest)
            if symbol == "+"
            else Annotation(int(sample), symbol, int(rest or 0))
            for sample, symbol, rest in found
        )
    )


@pytest.fixture(params=CASES, ids=lambda case: f"{case.fs}Hz-{case.length}")
def case(request) -> Case:
    return request.param


def test_beats_are_paired_as_by_bxb(case):
    score = bxb.compare(marks(case.reference), marks(case.test), fs=case.fs, length=case.length, start_s=case.start_s)
    assert score.pairs == {pair[:2]: int(pair[2:]) for pair in case.pairs.split()}
    assert score.rr_intervals == case.rr[0]
    assert score.rr_squared_error_ms2 == pytest.approx(case.rr[1] * (1000 / case.fs) ** 2)
    assert score.shutdown_s == case.shutdown_s


def test_runs_are_compared_as_by_rxr(case):
    scores = rxr.compare(marks(case.reference), marks(case.test), fs=case.fs, length=case.length, start_s=case.start_s)
    for score, counts in ((scores.ventricular, case.v_runs), (scores.supraventricular, case.s_runs)):
        ratios = score.statistics().values()
        assert [count for ratio in ratios for count in (ratio.part, ratio.whole - ratio.part)] == counts


def test_episodes_are_compared_as_by_epicmp(case):
    for kind, counts in ((epicmp.AF, case.af), (epicmp.VF, case.vf)):
        score = epicmp.compare(
            marks(case.reference), marks(case.test), kind=kind, fs=case.fs, length=case.length, start_s=case.start_s
        )
        assert [
            score.reference_found,
            score.reference_episodes - score.reference_found,
            round(score.reference_s * case.fs),
            round(score.reference_overlap_s * case.fs),
            score.test_true,
            score.test_episodes - score.test_true,
            round(score.test_s * case.fs),
            round(score.test_overlap_s * case.fs),
        ] == counts
