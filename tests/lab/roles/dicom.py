"""DICOM: modalities, archive, worklist, workstation and printer, with dcmtk, pynetdicom and Orthanc. Images are synthetic, and so are the
patients: every name and identifier begins with a marker that must never be seen outside of a packet."""

import json
import time

from roles import attributes, role

CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
}
# An arc of nobody's own, made for these tests.
ROOT = "1.2.826.0.1.3680043.10.1234."


def modality_texts(spec, play):
    """What the images say of their maker."""
    maker, model, serial, software = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
    return [
        ("dicom.manufacturer (0008,0070)", maker),
        ("dicom.model (0008,1090)", model),
        ("dicom.serial (0018,1000)", serial),
        ("dicom.software (0018,1020)", software),
        ("dicom.station_name (0008,1010)", play.get("station", spec["name"])),
    ]


def image(device, play, number):
    """Writes one synthetic image; gives its path."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UID

    spec, now = device.spec, time.localtime()
    maker, model, serial, software = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
    stem = ROOT + f"{device.random.randrange(10**8)}.{number}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CLASSES[play["modality"]])
    meta.MediaStorageSOPInstanceUID = UID(stem + ".3")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = device.folder / f"image{number % 8}.dcm"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = stem + ".1", stem + ".2"
    data.PatientName = f"ZZMARKER^{device.name}^{number}"
    data.PatientID, data.PatientBirthDate, data.PatientSex = f"ZZMARKERID{number}", "19700101", "O"
    data.AccessionNumber, data.StudyID = f"ZZMARKERACC{number}", f"ZZMARKERST{number}"
    data.ReferringPhysicianName = "ZZMARKER^PHYSICIAN"
    data.Modality, data.Manufacturer, data.ManufacturerModelName = play["modality"], maker, model
    data.StationName = play.get("station", spec["name"])
    data.InstitutionName, data.InstitutionalDepartmentName = device.hospital["name"], play.get("department", "Radiology")
    data.SoftwareVersions = software
    if serial:
        data.DeviceSerialNumber = serial
    if play.get("device_uid"):
        data.DeviceUID = play["device_uid"]
    if play.get("udi"):
        item = Dataset()
        item.UniqueDeviceIdentifier, item.DeviceDescription = play["udi"], model
        data.UDISequence = [item]
    data.StudyDate = data.SeriesDate = data.ContentDate = time.strftime("%Y%m%d", now)
    data.StudyTime = data.SeriesTime = data.ContentTime = time.strftime("%H%M%S", now)
    data.SeriesNumber, data.InstanceNumber = 1, number
    data.Rows = data.Columns = play.get("pixels", 96)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = device.random.randbytes(2 * data.Rows * data.Columns)
    data.save_as(str(path), enforce_file_format=True)
    return path


@role("dicom_modality", modality_texts)
def dicom_modality(device, play):
    """Asks for the worklist, acquires, stores; with dcmtk, or with pynetdicom under the implementation name of a product."""
    state = {"number": device.random.randrange(1000)}
    title, peer = play["ae_title"], [device.host(play["archive"]), str(play.get("port", 104))]

    def store():
        state["number"] += 1
        files = [image(device, play, state["number"] * 10 + index) for index in range(play.get("images", 3))]
        if play.get("software") == "pynetdicom":
            associate(
                device, play, peer, [CLASSES[play["modality"]]], lambda one: [one.send_c_store(str(path)) for path in files]
            )
        else:
            device.run("storescu", "-aet", title, "-aec", play["archive_title"], *peer, *files)

    def worklist():
        keys = [
            "-k",
            "0010,0010",
            "-k",
            "0010,0020",
            "-k",
            f"0040,0100[0].0008,0060={play['modality']}",
            "-k",
            "0040,0100[0].0040,0001",
        ]
        device.run(
            "findscu",
            "-W",
            "-aet",
            title,
            "-aec",
            play.get("worklist_title", "WORKLIST"),
            *keys,
            device.host(play["worklist"]),
            str(play.get("worklist_port", 104)),
        )

    device.every(play.get("every", 22), store)
    if play.get("worklist"):
        device.every(play.get("every", 22) * 1.5, worklist)
    if play.get("echo", True):
        device.every(60, lambda: device.run("echoscu", "-aet", title, "-aec", play["archive_title"], *peer))
    if play.get("printer"):
        device.every(55, lambda: print_film(device, play))


def entity(play):
    """A pynetdicom application entity that names itself as the product does."""
    from pynetdicom import AE

    one = AE(ae_title=play["ae_title"])
    if play.get("implementation"):
        one.implementation_class_uid, one.implementation_version_name = play["implementation"]
    return one


def associate(device, play, peer, classes, work, title=None):
    """One association of pynetdicom."""
    one = entity(play)
    for name in classes:
        one.add_requested_context(name)
    association = one.associate(peer[0], int(peer[1]), ae_title=title or play["archive_title"])
    if not association.is_established:
        device.say(f"no association with {peer}")
        return
    work(association)
    association.release()


def print_film(device, play):
    """A film session: created, one film box, printed, deleted."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    meta, session_class, box_class = "1.2.840.10008.5.1.1.9", "1.2.840.10008.5.1.1.1", "1.2.840.10008.5.1.1.2"

    def work(association):
        session, box = generate_uid(prefix=ROOT), generate_uid(prefix=ROOT)
        film = Dataset()
        film.NumberOfCopies, film.PrintPriority, film.MediumType = "1", "LOW", "BLUE FILM"
        association.send_n_create(film, session_class, session, meta_uid=meta)
        page = Dataset()
        page.ImageDisplayFormat, page.FilmOrientation, page.FilmSizeID = "STANDARD\\1,1", "PORTRAIT", "14INX17IN"
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = session_class, session
        page.ReferencedFilmSessionSequence = [reference]
        association.send_n_create(page, box_class, box, meta_uid=meta)
        association.send_n_action(None, 1, session_class, session, meta_uid=meta)
        association.send_n_delete(session_class, session, meta_uid=meta)

    peer = [device.host(play["printer"]), str(play.get("printer_port", 104))]
    associate(device, play, peer, [meta], work, play.get("printer_title", "PRINTER"))


@role("dicom_printer")
def dicom_printer(device, play):
    """A print SCP of pynetdicom: it takes every film."""
    from pydicom.dataset import Dataset
    from pynetdicom import evt

    one = entity(play)
    for name in ("1.2.840.10008.5.1.1.9", "1.2.840.10008.5.1.1.16", "1.2.840.10008.1.1"):
        one.add_supported_context(name)

    def created(event):
        answer = Dataset()
        if event.request.AffectedSOPClassUID == "1.2.840.10008.5.1.1.2":
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.1.4", ROOT + "77"
            answer.ReferencedImageBoxSequence = [item]
        return 0x0000, answer

    done = lambda event: (0x0000, Dataset())
    handlers = [
        (evt.EVT_N_CREATE, created),
        (evt.EVT_N_ACTION, done),
        (evt.EVT_N_SET, done),
        (evt.EVT_N_DELETE, lambda event: 0x0000),
    ]
    one.start_server(("", play.get("port", 104)), block=False, evt_handlers=handlers)
    device.printer = one


@role("dicom_archive")
def dicom_archive(device, play):
    """Orthanc."""
    folder = device.folder / "orthanc"
    folder.mkdir(exist_ok=True)
    peers = {
        other["name"]: [one["ae_title"], device.host(other["name"]), one.get("port_listen", 11112)]
        for other in device.hospital["device"]
        for one in other.get("does", [])
        if one["role"] in ("dicom_workstation", "dicom_receiver")
    }
    conf = {
        "Name": play["ae_title"],
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomAet": play["ae_title"],
        "DicomPort": play.get("port", 104),
        "HttpPort": play.get("http_port", 8042),
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": False,
        "DicomModalities": peers,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        "Plugins": [],
        "StorageCompression": False,
        "DicomAlwaysAllowEcho": True,
        "UnknownSopClassAccepted": True,
        "HttpServerEnabled": True,
        "OverwriteInstances": True,
    }
    device.serve("Orthanc", device.write("orthanc.json", json.dumps(conf)))
    if play.get("forward"):

        def forward():
            studies = json.loads(device.run("curl", "-s", f"http://127.0.0.1:{conf['HttpPort']}/studies").stdout or "[]")
            if studies:
                device.run(
                    "curl",
                    "-s",
                    "-m",
                    "20",
                    "-X",
                    "POST",
                    "-d",
                    studies[-1],
                    f"http://127.0.0.1:{conf['HttpPort']}/modalities/{play['forward']}/store",
                    timeout=25,
                )

        device.every(50, forward, first=35)


@role("dicom_receiver")
def dicom_receiver(device, play):
    """dcmtk storescp: it takes what is sent, and keeps nothing."""
    device.serve("storescp", "--ignore", "-aet", play["ae_title"], str(play.get("port_listen", 11112)))


@role("worklist_server")
def worklist_server(device, play):
    """dcmtk wlmscpfs over synthetic entries, one for each modality."""
    folder = device.folder / "worklist" / play["ae_title"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lockfile").touch()
    for number, modality in enumerate(("CT", "MR", "US", "DX", "CR", "MG", "XA", "NM")):
        dump = (
            f"(0008,0050) SH ZZMARKERACC{number}\n(0010,0010) PN ZZMARKER^WORKLIST^{number}\n(0010,0020) LO ZZMARKERID{number}\n"
            f"(0010,0030) DA 19700101\n(0010,0040) CS O\n(0020,000d) UI {ROOT}9.{number}\n(0032,1060) LO procedure\n"
            f"(0040,0100) SQ\n(fffe,e000) -\n(0008,0060) CS {modality}\n(0040,0001) AE ANY\n(0040,0002) DA 20260101\n(0040,0003) TM 080000\n"
            f"(0040,0009) SH STEP{number}\n(fffe,e00d) -\n(fffe,e0dd) -\n(0040,1001) SH PROC{number}\n"
        )
        device.run("dump2dcm", device.write(f"entry{number}.dump", dump), folder / f"entry{number}.wl")
    device.serve("wlmscpfs", "-dfp", folder.parent, "-dfr", str(play.get("port", 104)))


@role("dicom_workstation", lambda spec, play: [])
def dicom_workstation(device, play):
    """Finds studies and has them moved to itself (dcmtk)."""
    title, peer = play["ae_title"], [device.host(play["archive"]), str(play.get("port", 104))]
    to = ["-aet", title, "-aec", play["archive_title"]]
    device.serve("storescp", "--ignore", "-aet", title, str(play.get("port_listen", 11112)))

    def look():
        device.run(
            "findscu",
            "-S",
            *to,
            "-k",
            "0008,0052=STUDY",
            "-k",
            "0010,0010=ZZMARKER*",
            "-k",
            "0020,000d",
            "-X",
            "-od",
            device.folder,
            *peer,
        )
        from pydicom import dcmread

        found = sorted(device.folder.glob("rsp*.dcm"))[:1]
        for path in found:
            study = dcmread(str(path), force=True).get("StudyInstanceUID")
            device.run(
                "movescu", "-S", *to, "-aem", title, "-k", "0008,0052=STUDY", "-k", f"0020,000d={study}", *peer, timeout=20
            )
        for path in device.folder.glob("rsp*.dcm"):
            path.unlink()

    device.every(play.get("every", 30), look, first=20)
