# SPDX-License-Identifier: Apache-2.0
"""Countries by their ISO 3166-1 codes, and the continent each is counted to (as upstream, from geonames.org; with AN, CS and XK)."""

from __future__ import annotations

from typing import Final, NamedTuple


class Country(NamedTuple):
    """Codes of a country, and the code of its continent."""

    alpha2: str
    alpha3: str
    continent: str


#: Africa, Antarctica, Asia, Europe, North America, Oceania, South America.
CONTINENTS: Final = frozenset({"AF", "AN", "AS", "EU", "NA", "OC", "SA"})

#: By continent, each country as its two codes in one word.
_WORDS: Final = {
    "AF": """
        AOAGO BFBFA BIBDI BJBEN BWBWA CDCOD CFCAF CGCOG CICIV CMCMR CVCPV DJDJI DZDZA EGEGY EHESH ERERI ETETH GAGAB
        GHGHA GMGMB GNGIN GQGNQ GWGNB KEKEN KMCOM LRLBR LSLSO LYLBY MAMAR MGMDG MLMLI MRMRT MUMUS MWMWI MZMOZ NANAM
        NENER NGNGA REREU RWRWA SCSYC SDSDN SHSHN SLSLE SNSEN SOSOM SSSSD STSTP SZSWZ TDTCD TGTGO TNTUN TZTZA UGUGA
        YTMYT ZAZAF ZMZMB ZWZWE
    """,
    "AN": """
        AQATA BVBVT GSSGS HMHMD TFATF
    """,
    "AS": """
        AEARE AFAFG AMARM AZAZE BDBGD BHBHR BNBRN BTBTN CCCCK CNCHN GEGEO HKHKG IDIDN ILISR ININD IOIOT IQIRQ IRIRN
        JOJOR JPJPN KGKGZ KHKHM KPPRK KRKOR KWKWT KZKAZ LALAO LBLBN LKLKA MMMMR MNMNG MOMAC MVMDV MYMYS NPNPL OMOMN
        PHPHL PKPAK PSPSE QAQAT SASAU SGSGP SYSYR THTHA TJTJK TMTKM TRTUR TWTWN UZUZB VNVNM YEYEM
    """,
    "EU": """
        ADAND ALALB ATAUT AXALA BABIH BEBEL BGBGR BYBLR CHCHE CSSCG CYCYP CZCZE DEDEU DKDNK EEEST ESESP FIFIN FOFRO
        FRFRA GBGBR GGGGY GIGIB GRGRC HRHRV HUHUN IEIRL IMIMN ISISL ITITA JEJEY LILIE LTLTU LULUX LVLVA MCMCO MDMDA
        MEMNE MKMKD MTMLT NLNLD NONOR PLPOL PTPRT ROROU RSSRB RURUS SESWE SISVN SJSJM SKSVK SMSMR UAUKR VAVAT XKXKX
    """,
    "NA": """
        AGATG AIAIA ANANT AWABW BBBRB BLBLM BMBMU BQBES BSBHS BZBLZ CACAN CRCRI CUCUB CWCUW DMDMA DODOM GDGRD GLGRL
        GPGLP GTGTM HNHND HTHTI JMJAM KNKNA KYCYM LCLCA MFMAF MQMTQ MSMSR MXMEX NINIC PAPAN PMSPM PRPRI SVSLV SXSXM
        TCTCA TTTTO USUSA VCVCT VGVGB VIVIR
    """,
    "OC": """
        ASASM AUAUS CKCOK CXCXR FJFJI FMFSM GUGUM KIKIR MHMHL MPMNP NCNCL NFNFK NRNRU NUNIU NZNZL PFPYF PGPNG PNPCN
        PWPLW SBSLB TKTKL TLTLS TOTON TVTUV UMUMI VUVUT WFWLF WSWSM
    """,
    "SA": """
        ARARG BOBOL BRBRA CLCHL COCOL ECECU FKFLK GFGUF GYGUY PEPER PYPRY SRSUR UYURY VEVEN
    """,
}

#: By either code.
_COUNTRIES: Final[dict[str, Country]] = {
    code: country
    for continent, words in _WORDS.items()
    for country in (Country(word[:2], word[2:], continent) for word in words.split())
    for code in country[:2]
}


def country_of(code: str) -> Country | None:
    """The country of an alpha-2 or alpha-3 code, in either case; None if there is none."""
    return _COUNTRIES.get(code.upper())
