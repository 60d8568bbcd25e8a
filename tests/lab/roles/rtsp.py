"""GStreamer's RTSP server with a test picture, as a program of its own: its bindings are of the system's Python."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=4/1 ! jpegenc ! rtpjpegpay name=pay0 )"
)
server.get_mount_points().add_factory(sys.argv[2], factory)
server.attach(None)
GLib.MainLoop().run()
