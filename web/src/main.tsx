// The dashboard begins here.
import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/shell.css";
import "./style/fleet.css";
import "./style/host.css";
import "./style/jobs.css";
import { render } from "preact";
import { App } from "./app";
import { begin } from "./session";

void begin();
render(<App />, document.getElementById("app")!);
