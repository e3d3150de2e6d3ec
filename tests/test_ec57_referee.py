"""Crowded, random pairs of annotators, with the counts of the C programs' logic.

No binary of WFDB 10.7 was to be had: the counts were printed by its comparison loops, re-typed in C from the published
sources over a plain text reader. Thousands of pairs like these agreed for each program; these few were chosen so that
every changed operator which any of 1,500 pairs reveals is revealed by one. At 7 to 40 Hz ties and touching windows
abound.
"""

import re
from typing import NamedTuple

import pytest

from ec57 import bxb, epicmp, rxr
from ec57.annotations import Annotation, Annotations


class Case(NamedTuple):
    fs: int
    length: int | None
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
    vf: list[int] | None


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
        fs=40, length=400, start_s=2,
        reference=(
            "82a 97S 112j 139+(VF 153+(AFIB 179Q 198V 218e 247N 260N 289F 310R 334B 354a 372V 372a 372B 395~48 "
            "428N 449S 462[ 468N 496E 515V"
        ),
        test=(
            "85V 90V 100S 113j 138+(VF 152+(AFIB 179Q 198F 220e 247j 262a 284F 311S 331B 353a 368n 372V 389B "
            "395~48 430N 449S 462[ 471N 517V"
        ),
        pairs="Nn1 Ns3 Nv1 Ss4 Sv1 So1 Vf1 Vo1 Ff1 Qq1 Os1 Ov1 Xn1", rr=(14, 452), shutdown_s=1,
        v_runs=[0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1], s_runs=[1, 0, 1, 0, 2, 1, 2, 0, 0, 0, 0, 0],
        af=[1, 0, 247, 247, 1, 0, 248, 247], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=20, length=None, start_s=2,
        reference="8! 27~51 32N 44A 51F 60V 70L 83+ 88~1 101V 108+(AFIB 110J 117~51 125B 134N 150N 162N 172[ 177+zz",
        test="5j 14e 18V 29? 31+(AFIB 36J 49~1 56S 68F 76A 88/ 113r 118N 122N 133f 146N 158N",
        pairs="Nn1 Nf1 Nq1 No2 Sv1 So1 Vo2 Fo1 On2 Os2 Oq1 Xn1", rr=(13, 1578), shutdown_s=0,
        v_runs=[0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], s_runs=[0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1],
        af=None, vf=None,
    ),
    Case(
        fs=7, length=49, start_s=3,
        reference="3N 7R 8/ 10[ 11V 16A 21] 24N 28] 34N 39N 40+(VT 43N 45S 46~-1 46~51 49R 52N 56+(VF 59Q 63?",
        test="3N 8/ 10[ 16A 21] 28] 34N 38+(VT 39! 43N 45S 46~-1 46~51 50R 52N 57Q 63?",
        pairs="Nn3 No2 Ss1", rr=(3, 0), shutdown_s=1,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 1, 0, 0, 0, 1, 0, 0],
    ),
    Case(
        fs=20, length=140, start_s=3,
        reference=(
            "10? 17n 30r 38! 45N 51e 60A 71R 74A 77N 88N 99+ 99n 102N 116V 123N 127L 140+(AFIB 154+(B 164f 178L "
            "185V 200V"
        ),
        test="8a 21+(VFL 28N 36r 46N 57A 69N 84N 96N 108S 120V 127E 141N 151[ 159N 167E 167N",
        pairs="Nn1 Nv2 No3 Sn1 Ss1 So1 Vo1 On1 Os1", rr=(12, 434), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=7, length=None, start_s=2,
        reference="1? 4~48 9] 11r 13j 15e 19+(VT 22N 27B 28j 30! 34~51 36f 37R 40N 40[ 43V 45[ 46! 49+(AFL 50+(VF 53n",
        test=(
            "1N 4~48 9] 11? 13j 14j 15e 19! 19+(VT 22N 27F 28n 34~51 36r 37R 40N 40[ 43V 46! 48N 50+(AFL 50+(VF "
            "53n"
        ),
        pairs="Nn3 Nf1 Ss2 Qv1", rr=(7, 26), shutdown_s=2,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1], s_runs=[0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0],
        af=None, vf=None,
    ),
    Case(
        fs=20, length=320, start_s=1,
        reference=(
            "288e 294? 301N 304A 313E 313N 314F 314+(AFL 316E 320/ 322a 328! 330V 335e 338N 338N 343[ 353V 354V "
            "359S 360[ 368Q 375N"
        ),
        test=(
            "290? 295R 303A 314E 314F 314+(AFL 315E 316N 321/ 322a 325! 325V 336e 337N 338N 343[ 353B 356V 359S "
            "361[ 368Q 376!"
        ),
        pairs="No2 Ss1 Sq1 Vn1 Vo1 Fv1 Qn1 Qq1 Ov1 Of1", rr=(8, 134), shutdown_s=0,
        v_runs=[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=20, length=None, start_s=1,
        reference="6! 17B 21f 33f 39J 44S 47+zz 55n 67N 73~48 82~48 94r 97r 107~51 117f 132A 144A 147R 156r",
        test="3N 17B 20f 32f 37J 44S 47+zz 57n 67N 72~48 82~48 94r 107~51 118f 134N 144A 153r",
        pairs="Nn1 No1 Sn1 Ss4 Vv2 Vx1 Qq3", rr=(10, 55), shutdown_s=2,
        v_runs=[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], s_runs=[0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0],
        af=None, vf=None,
    ),
    Case(
        fs=7, length=42, start_s=2,
        reference="44N 45f 45R 45L 49! 50+(VFL 53a 54F 55/ 55~51 57~1 59/ 61N",
        test="4N 7+(VFL 7e 9N 11+(B 13/ 15N 20e 23a 26V 29V 33V 37N 40~1 44N 47B 49N 52E 56? 56S 59~51 61+(AFIB",
        pairs="On1 Os2 Ov3", rr=(0, 0), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], s_runs=[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=7, length=35, start_s=1,
        reference="5J 7N 9+(AFIB 11R 14N 17S 21N 24B 27Q 30N 32f 35N 40Q 45B 51V 53e",
        test="7Q 7F 9+(AFIB 12R 14L 17S 21N 24B 27Q 30N 32f 35N 40Q 45B 51N 53e",
        pairs="Nn6 Nq1 Ss1 Qq2 Of1", rr=(9, 2), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0],
        af=[1, 0, 26, 26, 1, 0, 26, 26], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=7, length=77, start_s=3,
        reference="42B 44B 44R 45E 47N 50+(AFL 54n 55! 57N 57j 61~1 67! 69+zz 74f 77~48 79f 84A 86V 95~51",
        test="42B 44R 45E 47N 48N 54N 55! 57N 57j 61~1 67/ 77~48 84A 95~51",
        pairs="Nn3 No2 Sn2 Vv1 Qx1 On1 Os1 Oq1", rr=(8, 37), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=20, length=100, start_s=1,
        reference="7+(AFIB 10N 17+(VF 23V 40e 49N 57N 68N 73f 85V 95N 103N 116Q 131~51 143/ 151! 160!",
        test="6+(AFIB 17+(VF 23n 39e 49N 57R 64f 68N 72n 94N 105V 115Q 131~51 141N 149! 159!",
        pairs="Nn4 Ss1 Vs1 Vo1 Qs1 Oq1", rr=(8, 312), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=40, length=240, start_s=2,
        reference="13n 29V 41J 69N 75[ 93S 107N 128V 140] 161! 188j 193e 225+ 240B 261N 291a 298N 322N 323n 331j 354n",
        test="13n 22? 32! 42/ 69N 75[ 96S 110N 128V 140] 156! 187j 193e 240B 261N 278f 291a 326n 331j",
        pairs="Nn1 Ss2", rr=(3, 17), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0], s_runs=[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[1, 0, 60, 60, 1, 0, 60, 60],
    ),
    Case(
        fs=20, length=140, start_s=3,
        reference="11n 27J 36N 45L 58L 69] 81R 92N 107j 114F 128L 132+(VFL 133+(VT 139/ 151E 165+(N 168B 171[",
        test="27F 36N 45L 58V 69] 79N 91B 106! 114F 133E 133+(VFL 134+(VT 140N 151E 169B 171[",
        pairs="Nn2 No1 So1 Ff1 Qn1 Ov1", rr=(7, 111), shutdown_s=0,
        v_runs=[0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=7, length=42, start_s=2,
        reference="16n 20N 22B 24N 25~51 28J 33B 35+(VFL 36L 41j 45e 51V 55~51 56S 59? 62V 63!",
        test="2V 5N 9? 13N 14n 15B 18j 19Q 23V 24n 27J 27S 31A 34j 39S 42V 45V 48N 50Q 50Q 53R 56e 61R 63N",
        pairs="Ns2 Nv1 Nq1 No1 Sn1 Ss1 Sv1 Os3 Xs1", rr=(9, 28), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=7, length=35, start_s=1,
        reference="33V 33N 34~-1 37V 38~51 40B 40N 40/ 40N 45N 45V 45J 46E 47N 49V 52B 52~0 54~1 56f",
        test="33V 34N 37V 38~51 40B 40N 40/ 40N 45N 45f 45J 46E 47N 49V 52B 52~0 54~1 56f",
        pairs="Nv1 Vo1 Xn1", rr=(0, 0), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=20, length=140, start_s=3,
        reference="12+ 22N 34~48 42N 55[ 68+(N 81r 86N 102a 110[ 122j 140V 149e 162N 168N 174F 186N 197!",
        test="13+ 24N 45N 66+(N 81r 109[ 123j 140V 149e 157N 167N 169F 180! 185N 197!",
        pairs="", rr=(0, 0), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0], s_runs=[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[1, 0, 80, 31, 1, 0, 31, 31],
    ),
    Case(
        fs=7, length=None, start_s=3,
        reference=(
            "11~-1 15J 18V 21a 26S 30/ 32V 35r 39e 41S 44V 48~1 51a 55N 58S 61+(AFL 65J 69A 72J 75J 79F 84+(N "
            "86+(B 87j"
        ),
        test="11~-1 18V 22a 25S 33V 35r 36e 41S 46N 48~1 51a 55f 58L 61+(AFL 69A 72J 79F 81+(N 86+(B 87j",
        pairs="Nq1 Sn1 Ss7 So3 Vv2 Vo1 Ff1 Qo1 On1 Os1", rr=(19, 179), shutdown_s=2,
        v_runs=[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], s_runs=[1, 1, 2, 0, 1, 0, 0, 0, 0, 0, 1, 0],
        af=None, vf=None,
    ),
    Case(
        fs=20, length=140, start_s=3,
        reference=(
            "8! 21F 21N 37j 46N 58r 61L 70~0 73F 80! 87? 91L 99N 114! 130E 135! 144V 152+(VT 157S 164/ 164+zz "
            "176+(VT 187V"
        ),
        test=(
            "10! 24F 25N 37j 58r 62/ 72~0 73F 83! 87? 90L 101N 113! 131E 135! 141E 144V 152+(VT 158S 165+zz 168/ "
            "176+(VT 189V"
        ),
        pairs="Nn2 Nq1 Vv1 Ff1 Qq1", rr=(9, 44), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=20, length=140, start_s=3,
        reference=(
            "9+(AFIB 25e 38B 43J 50N 62~-1 73+ 75N 89N 92+(VF 99j 107E 110B 118S 130R 140N 145V 153L 166N 177r "
            "182N 193?"
        ),
        test="1? 8V 18r 25V 34N 40N 50L 61N 76N 89+(B 91+zz 102j 116L 127R 142f 152~48 159B 168?",
        pairs="Nn2 Nq1 No2 Sn1 Ss1 Vo1", rr=(7, 619), shutdown_s=1,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], s_runs=[0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0],
        af=[0, 1, 13, 0, 0, 0, 0, 0], vf=[0, 0, 0, 0, 0, 0, 0, 0],
    ),
    Case(
        fs=7, length=70, start_s=2,
        reference="39+(AFL 42S 46R 50e 50[ 53L 56~16 58N 60N 64B 67! 70N 72E 75L 77j 82] 84Q",
        test="65] 66F 67j 73~0 75E 79+(AFIB 83E",
        pairs="No1 So2", rr=(0, 0), shutdown_s=0,
        v_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], s_runs=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        af=[0, 0, 0, 0, 0, 0, 0, 0], vf=[0, 1, 20, 0, 0, 0, 0, 0],
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


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.fs} Hz {case.reference[:12]}")


@cases
def test_beats_are_paired_as_by_bxb(case):
    score = bxb.compare(marks(case.reference), marks(case.test), fs=case.fs, length=case.length, start_s=case.start_s)
    assert score.pairs == {pair[:2]: int(pair[2:]) for pair in case.pairs.split()}
    assert score.rr_intervals == case.rr[0]
    assert score.rr_squared_error_ms2 == pytest.approx(case.rr[1] * (1000 / case.fs) ** 2)
    assert score.shutdown_s == case.shutdown_s


@cases
def test_runs_are_compared_as_by_rxr(case):
    scores = rxr.compare(marks(case.reference), marks(case.test), fs=case.fs, length=case.length, start_s=case.start_s)
    for score, counts in ((scores.ventricular, case.v_runs), (scores.supraventricular, case.s_runs)):
        ratios = score.statistics().values()
        assert [count for ratio in ratios for count in (ratio.part, ratio.whole - ratio.part)] == counts


@cases
def test_episodes_are_compared_as_by_epicmp(case):
    for kind, counts in ((epicmp.AF, case.af), (epicmp.VF, case.vf)):
        if counts is None:
            continue  # epicmp compares nothing where the length is unknown
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
