"""What a person's input devices mean, one module a device: pure functions of what they said and of `now_ns`.

wish: what a person wants now.  mapping: the YAML of a device.  buttons: those that every device has.
joystick, spacemouse, keyboard, leader: the devices.  registry: a device by name.  terminal: keys and a status line.
"""
