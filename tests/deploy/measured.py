def run(cases, image): pass
